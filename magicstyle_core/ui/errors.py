"""What went wrong, in the visitor's language: the core raises English sentences, of which each has a line here.

Another language is one more dictionary with the keys of GERMAN. A name in braces stands for any text, which is said in
the visitor's language too, when it is among the keys. What stands for `error` is another library's English: a
translation may leave it out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

GERMAN = {
    # Pictures
    "{name} is empty; choose another, or save the picture again.":
        "{name} ist leer; wähle eine andere, oder speichere das Bild noch einmal.",
    "{name} is a PDF or PostScript page; export it as PNG.":
        "{name} ist eine Seite in PDF oder PostScript; exportiere sie als PNG.",
    "{name} is an SVG drawing; export it as PNG.": "{name} ist eine Zeichnung in SVG; exportiere sie als PNG.",
    "{name} is a Photoshop document; export it as PNG.": "{name} ist ein Photoshop-Dokument; exportiere es als PNG.",
    "{name} is a JPEG XL, which is not read yet; save it as JPEG or PNG.":
        "{name} ist ein JPEG XL, das hier noch nicht gelesen wird; speichere es als JPEG oder PNG.",
    "{name} is a camera's raw file, not yet a picture; export it as JPEG.":
        "{name} ist eine Rohdatei der Kamera und noch kein Bild; exportiere sie als JPEG.",
    "{name} is a video or a sound; give one of its frames as a picture.":
        "{name} ist ein Film oder ein Ton; nimm eines seiner Bilder.",
    "{name} is an archive or a document; give a picture out of it.":
        "{name} ist ein Archiv oder ein Dokument; nimm ein Bild daraus.",
    "{name} is text, not a picture; give a JPEG, PNG, WebP, AVIF, HEIC, GIF or TIFF.":
        "{name} ist Text und kein Bild; nimm ein JPEG, PNG, WebP, AVIF, HEIC, GIF oder TIFF.",
    "{name} is not a picture that can be read; give a JPEG, PNG, WebP, AVIF, HEIC, GIF or TIFF.":
        "{name} ist kein Bild, das sich lesen lässt; nimm ein JPEG, PNG, WebP, AVIF, HEIC, GIF oder TIFF.",
    "{name} does not exist; check the path.": "{name} gibt es nicht mehr; lege das Bild noch einmal ab.",
    "{name} is a folder; give a picture out of it.": "{name} ist ein Ordner; nimm ein Bild daraus.",
    "{name} may not be opened; check its permissions.": "{name} darf nicht geöffnet werden; prüfe ihre Rechte.",
    "{name} needs more memory than there is; scale it down.":
        "{name} braucht mehr Speicher, als da ist; verkleinere das Bild.",
    "{name} is damaged or incomplete ({error}); copy it again, or save it anew as JPEG or PNG.":
        "{name} ist beschädigt oder unvollständig; kopiere das Bild noch einmal, oder speichere es neu als JPEG oder "
        "PNG.",
    "The picture has {count} million pixels, the limit is {most} million; scale it down.":
        "Das Bild hat {count} Millionen Bildpunkte, höchstens {most} Millionen gehen; verkleinere es.",
    "The picture is {width} × {height} pixels; give one of at least {least} × {same}.":
        "Das Bild ist {width} × {height} Bildpunkte groß; nimm eines von mindestens {least} × {same}.",
    "The picture is {width} × {height} pixels; crop it to at most {times} times as long as it is wide.":
        "Das Bild ist {width} × {height} Bildpunkte groß; beschneide es auf höchstens {times} Mal so lang wie breit.",
    "The picture contains values that are not numbers; save it again with 8 or 16 bits a channel.":
        "Das Bild enthält Werte, die keine Zahlen sind; speichere es neu mit 8 oder 16 Bit je Kanal.",
    "The mask is {width} × {height}, the picture {across} × {down} pixels; give a mask of the picture's shape.":
        "Die Maske ist {width} × {height} Bildpunkte groß, das Bild {across} × {down}; nimm eine Maske von der Form "
        "des Bildes.",
    "The mask of a style is black everywhere; make white what may be looked at.":
        "Die Maske eines Stils ist überall schwarz; mache weiß, was gelten soll.",
    "Faces cannot be found, because the package dlib-bin is missing; install it, or paint where the style goes.":
        "Gesichter lassen sich hier nicht finden, weil auf dem Server das Paket dlib-bin fehlt; male selbst, wohin der "
        "Stil soll.",
    # Files with settings
    "The file cannot be read as a PNG; give one that MagicStyle wrote.":
        "Die Datei lässt sich nicht als PNG lesen; nimm eine, die MagicStyle geschrieben hat.",
    "The picture carries no settings; give a PNG as MagicStyle wrote it, not a converted copy.":
        "Das Bild trägt keine Einstellungen; nimm ein PNG, wie MagicStyle es schrieb, und keine umgewandelte Kopie.",
    "The region in the picture is damaged ({error}); give the original file.":
        "Der Bereich in dem Bild ist beschädigt; nimm die ursprüngliche Datei.",
    "The file {path} cannot be read ({error}); check the path.":
        "Die Datei {path} lässt sich nicht lesen; prüfe den Pfad.",
    "The settings in the {place} are damaged ({error}); give the original file.":
        "Die Einstellungen {place} sind beschädigt; nimm die ursprüngliche Datei.",
    "The settings in the {place} are no JSON object; give the original file.":
        "Die Einstellungen {place} sind kein JSON-Objekt; nimm die ursprüngliche Datei.",
    "The settings in the {place} are incomplete; give the original file.":
        "Die Einstellungen {place} sind unvollständig; nimm die ursprüngliche Datei.",
    "The {place} was made with MagicStyle {version} and has settings unknown to {own}: {names}; update MagicStyle, or "
    "take them out.":
        "Einstellungen {place} aus MagicStyle {version} kennt {own} nicht: {names}; nimm sie heraus, oder bitte um "
        "ein neueres MagicStyle.",
    "The {place} has settings unknown to {own}: {names}; update MagicStyle, or take them out.":
        "Einstellungen {place} kennt MagicStyle {own} nicht: {names}; nimm sie heraus.",
    "The settings in the {place} cannot be used: {name}: {error}.":
        "Die Einstellungen {place} lassen sich nicht verwenden: {name} ist falsch.",
    "The settings in the {place} cannot be used: {why}":
        "Die Einstellungen {place} lassen sich nicht verwenden: {why}",
    "{before} Its region was not stored; choose it again.":
        "{before} Ihr Bereich wurde nicht gespeichert; wähle ihn noch einmal.",
    "Its region was not stored; choose it again.": "Ihr Bereich wurde nicht gespeichert; wähle ihn noch einmal.",
    "Texture ({texture}) is gone since 0.1, so the picture will look different.":
        "Textur ({texture}) gibt es seit 0.1 nicht mehr, daher wird das Bild anders aussehen.",
    # Settings
    "The settings got {given}, expected names with values.":
        "Als Einstellungen geht {given} nicht; erwartet werden Namen mit Werten.",
    "Unknown setting {names}; known are {known}.": "Die Einstellung {names} gibt es nicht; es gibt {known}.",
    "There is no preset {name}; choose one of {names}.": "Die Vorlage {name} gibt es nicht; wähle eine von {names}.",
    "start ({start}) lies after end ({end}); make start the smaller one.":
        "Anfang ({start}) liegt nach Ende ({end}); mache den Anfang kleiner.",
    "Every style needs a weight above 0; take styles of weight 0 out, keep at least one.":
        "Jeder Stil braucht ein Gewicht über 0; nimm Stile mit Gewicht 0 heraus, aber behalte einen.",
    "Content was inverted with {steps} steps, a style with {others}; invert both with the same number.":
        "Das Foto wurde mit {steps} Schritten gelesen, ein Stil mit {others}; lies beide mit gleich vielen.",
    "{count} render steps are asked for, {most} are stored; invert again with more, or ask for fewer.":
        "{count} Schritte des Bildes sind verlangt, {most} gespeichert; nimm mehr Leseschritte oder weniger Schritte "
        "des Bildes.",
    "{count} steps are asked for, {model} has {most}; ask for fewer.":
        "{count} Schritte sind verlangt, {model} hat {most}; nimm weniger.",
    "{times} times {size} pixels are asked for, the limit is {most}; ask for a smaller one.":
        "{times} mal {size} Bildpunkte sind verlangt, höchstens {most} gehen; nimm eine kleinere Größe.",
    "Layer {name} matches nothing in this model. Choose 'all', a side (down, mid, up), a group (coarse, middle, fine), "
    "both (up.fine), or one of: {labels}.":
        "Schicht {name} gibt es in diesem Modell nicht. Nimm 'all', eine Seite (down, mid, up), eine Gruppe (coarse, "
        "middle, fine), beides (up.fine) oder eine von: {labels}.",
    # Grid and lens
    "The axis of a grid got {name}, expected one of {names}.":
        "Als Achse eines Rasters geht {name} nicht; wähle eine von {names}.",
    "{name} got no values, expected {example}.": "{name} hat keine Werte; erwartet wird {example}.",
    "The range of {name} got {count} values, expected 2 to {most}.":
        "Der Bereich von {name} hat {count} Werte; 2 bis {most} gehen.",
    "Both axes are {name}; choose another one for the second axis.":
        "Beide Achsen sind {name}; wähle für die zweite eine andere.",
    "The grid has {columns} × {rows} = {total} cells, the limit is {most}; give fewer values.":
        "Das Raster hat {columns} × {rows} = {total} Felder, höchstens {most} gehen; nimm weniger Werte.",
    "{name} has no range for a 3 × 3 sheet; fill a grid with its values.":
        "{name} hat keinen Bereich für 3 × 3 Entwürfe; fülle ein Raster mit Werten.",
    "The spot got {spot}, expected two numbers from 0 to 1.":
        "Als Stelle geht {spot} nicht; erwartet werden zwei Zahlen von 0 bis 1.",
    "group got {name}, expected one of {names}.": "Als Schichten geht {name} nicht; wähle eine von {names}.",
    "way_down got {value}, expected a number from 0 to 1.":
        "Als Schritt geht {value} nicht; erwartet wird eine Zahl von 0 bis 1.",
    "FFA is off in this render, so no spot looked anywhere; choose layers and a strength.":
        "Bei Stärke 0 oder ohne Schichten sah keine Stelle irgendwohin; wähle Schichten und eine Stärke.",
    "The lens needs the picture with these settings; render it in full first.":
        "Die Lupe braucht das Bild mit diesen Einstellungen; lass es erst ganz rechnen.",
    "{name} got {value}, expected {what}.": "{name}: {value} geht nicht; erwartet wird {what}.",
    # Machines
    "The device is out of memory; choose a smaller size or fewer styles.":
        "Auf dem Gerät ist kein Speicher mehr frei; nimm eine kleinere Größe oder weniger Stile.",
    "{model}: {network} gave values that are not finite, even in fp32; the model is broken.":
        "{model}: {network} gab Werte, die keine Zahlen sind, auch in fp32; das Modell ist kaputt.",
    "The model never ran {names}; choose other layers.": "Das Modell kam nie zu {names}; wähle andere Schichten.",
    "Your pictures were forgotten while they were worked on; send them again.":
        "Deine Bilder wurden vergessen, während an ihnen gearbeitet wurde; lege sie noch einmal ab.",
    "The machines failed {tries} times over this picture; try another size or fewer steps.":
        "Die Maschinen versagten {tries} Mal an diesem Bild; nimm eine andere Größe oder weniger Schritte.",
    # What stands within sentences
    "The picture": "Das Bild", "The file": "Die Datei", "The file {name}": "Die Datei {name}",
    "picture": "in dem Bild", "file": "in der Datei",
    "the UNet": "das UNet", "the VAE": "der VAE", "the preview VAE": "der VAE für Vorschauen",
    "{one}, or none": "{one}, oder none für keine",
    "a whole number from {low} to {high}": "eine ganze Zahl von {low} bis {high}",
    "a number from {low} to {high}": "eine Zahl von {low} bis {high}",
    "a list of layer names such as ['up.fine'], or an empty one for none":
        "eine Liste von Schichten wie ['up.fine'] oder eine leere für keine",
    "a list such as '10, 20' or a range '10–40 [4]'": "eine Liste wie '10, 20' oder ein Bereich wie '10–40 [4]'",
    "'0, 0.5, 1' or '0–1 [5]'": "'0, 0.5, 1' oder '0–1 [5]'",
    "'{one}' or {other}": "'{one}' oder {other}",
}  # fmt: skip
LANGUAGES = {"de": GERMAN}
BLANK = re.compile(r"\\{(\w+)\\}")
PATTERNS = {key: re.compile(BLANK.sub(r"(?P<\1>.+?)", re.escape(key)), re.DOTALL) for key in GERMAN}


def in_language(language: str, sentence: str, settings: Mapping[str, str]) -> str:
    """A sentence of the core in this language; as it is, where nothing like it is known.

    Args:
        settings: what each setting is called in this language.
    """
    for key, text in LANGUAGES.get(language, {}).items():
        if found := PATTERNS[key].fullmatch(sentence):
            blanks = found.groupdict().items()
            said = {name: settings.get(value) or in_language(language, value, settings) for name, value in blanks}
            return text.format(**said)
    return sentence
