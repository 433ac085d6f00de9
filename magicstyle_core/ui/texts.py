"""Every word of the page in every language: what components carry, and sentences with numbers in them.

Another language is one more dictionary with the keys of ENGLISH. Settings and presets have their English words in the
settings table.
"""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.i18n import I18nData

from magicstyle_core.settings import PRESETS, table

ENGLISH = {
    "tagline": "Your portrait in the manner of another picture. Your pictures leave this server when you do.",
    "photograph": "Photograph", "style": "Style", "style_2": "Second style", "style_3": "Third style",
    "weight": "Weight", "weight_hint": "Higher: this style wins more often against the others.",
    "stylize": "Stylize", "stop": "Stop", "live": "Live",
    "tab_look": "Look", "tab_advanced": "Advanced", "tab_region": "Region", "tab_styles": "More styles",
    "tab_grid": "Grid", "tab_compare": "Compare", "tab_settings": "Settings and files", "tab_memory": "Memory",
    "wall_styles": "Paintings: a click uses one", "wall_photographs": "Portraits to try it with",
    "wall_item": "Use {name}",
    "presets": "Presets", "groups": "Layer groups", "groups_hint": "Switch the layers that carry one kind of thing.",
    "coarse": "Large shapes", "middle": "Middle", "fine": "Fine",
    "layers_note": "Style enters {chosen} of {total} layers.",
    "empty_value": "{label} is empty; {value} is used.",
    "bounded_value": "{label} {given} is outside {low} to {high}; {value} is used.",
    "cost_none": "No picture needs to be read again for this.",
    "cost_new": "{steps} steps: every picture is read again, {calls} model calls.",
    "region": "Where the style goes", "everywhere": "Everywhere", "face": "Face", "background": "Background",
    "mask": "Where I paint", "region_everywhere": "The style goes everywhere.",
    "region_face": "The style goes inside the line, on faces and their hair.",
    "region_background": "The style goes outside of faces and their hair, beyond the line.",
    "region_mask": "The style goes where you paint or where your mask is white. Nothing painted: everywhere.",
    "no_face": "No face was found in this photograph: the style goes everywhere.",
    "region_outline": "The photograph with the edge of the region drawn on it",
    "brush": "Paint where the style should go", "mask_file": "Or a mask as a file: white where the style goes",
    "start": "Choose a photograph and a painting, or drop your own.",
    "unseen": "Few browsers show this kind of file. It is read all the same:",
    "no_photograph": "There is no photograph yet; choose or drop one, and it is rendered as soon as it is there.",
    "no_style": "There is no style yet; choose or drop one, and it is rendered as soon as it is there.",
    "read": "The picture is ready; the other one is still missing.",
    "ready": "Both pictures are ready. Press Stylize.",
    "done": "Done in {seconds}: {calls} model calls.",
    "again": "Picture {number} was made with these settings.",
    "stopped": "Stopped. Picture {number} is back.", "stopped_empty": "Stopped.",
    "error": "{text}",
    "unexpected": "Something went wrong on the server ({kind}); change a setting or press Stylize again.",
    "forgotten": "Forgotten: pictures, results and {bytes} of stored features.",
    "restored": "Welcome back: your pictures are still here.",
    "waiting": "Number {place} in the line, about {seconds}.",
    "moved": "A machine was lost; your picture is begun again on another one.",
    "away": "The machines that draw cannot be reached; your pictures are safe here, and work goes on by itself.",
    "step": "{phase}: step {step} of {total}, about {seconds} left",
    "phase_photograph": "Reading the photograph", "phase_style": "Reading the style", "phase_draft": "Draft",
    "phase_full": "Full picture", "phase_grid": "Pictures",
    "caption_draft": "Draft: {settings}", "caption_done": "Picture {number}: {settings}",
    "caption_short": "strength {strength}, {steps} steps", "caption_own": "own settings",
    "caption_behind": "Controls differ.",
    "caption_preview": "Preview between drafts; the true picture follows.",
    "sample": "An astronaut's portrait in the manner of a painting, made here",
    "sample_caption": "A photograph after a painting, made here. Yours is next.",
    "result_alt": "The stylized photograph. {caption}", "before_after": "Photograph ⟷ result",
    "wipe_auto": "Wipe by itself, there and back",
    "boxes_full": "Both boxes are full: touch the one whose picture is to go, then paste again.",
    "hold": "Hold to see the photograph", "download": "Download", "format_png": "PNG", "enlarge": "Full screen",
    "tab_outputs": "Download", "outputs_open": "Larger …",
    "times": "Size", "times_1": "As rendered", "times_2": "Twice", "times_4": "Four times",
    "times_hint": "Larger: sharp where your photograph is. At a higher Size (Advanced) the model draws more itself.",
    "format": "Format", "format_hint": "PNG carries its settings; JPEG and WebP carry none. JPEG is never transparent.",
    "make_file": "Make the file", "making_file": "Making the file.",
    "style_mask": "Use only a part of style", "style_brush": "Paint what of it may be used",
    "style_mask_file": "Or a mask as a file: white what may be used",
    "style_mask_hint": "Brushwork and colours come from what you paint. Nothing painted: from all of it.",
    "style_mask_none": "There is no such style yet.",
    "style_mask_empty": "The mask is black everywhere; make white what may be used.",
    "style_masked": "a part of the style",
    "lens": "Lens: where the picture looked in its style",
    "lens_hint": "Click a spot of the picture: the style lights up where that spot looked.",
    "lens_done": "Model calls: {calls}.", "lens_group": "Layers that are asked", "lens_step": "Step",
    "lens_step_hint": "0 is noise, where large shapes arise, 1 the finished picture.",
    "lens_caption": "Where {picture} looked, {across} across and {down} down.",
    "lens_alt": "Style {number}, lit where the spot looked", "lens_share": "style {number} {share}",
    "caption_number": "picture {number}", "caption_draft_short": "the draft",
    "file_made": "{name}, {width} × {height} pixels.", "no_picture": "There is no finished picture yet.",
    "animate": "Animate strength 0 to 1", "making_animation": "Making an animation.",
    "film": "Show every step", "making_film": "The picture is rendered once more.", "stop_output": "Stop making",
    "film_step": "{picture}: as step {step} of {total} foresaw it.", "film_alt": "The picture as this step foresaw it",
    "film_slider": "Step", "film_done": "{total} steps: {calls} model calls.",
    "private": "Leave settings out of the PNG", "private_hint": "On: nobody can read from the file how it was made.",
    "history": "Your pictures", "history_show": "Show picture {number} and its settings",
    "history_star": "Keep picture {number}", "history_unstar": "Stop keeping picture {number}",
    "history_delete": "Delete picture {number}", "history_zip": "Download all as a zip",
    "compare_left": "Left picture", "compare_right": "Right picture", "compare": "Two of your pictures: drag the line",
    "across": "Across", "down": "Down", "nothing": "Nothing", "values_across": "Values across",
    "values_down": "Values down", "values_hint": "A list such as 0, 0.5, 1 or a range such as 0-1 [5].",
    "grid_run": "Fill the grid", "grid_stop": "Stop the grid", "grid_quick": "3 × 3 drafts",
    "grid_pictures": "A click on a picture loads its settings", "grid_sheet": "The whole sheet as one picture",
    "grid_plan": "{pictures} pictures: {calls} model calls, about {seconds}.",
    "grid_done": "{pictures} of {total} pictures are made. A click on one loads its settings.",
    "grid_loaded": "Loaded: {cell}.", "grid_step": "Picture {step} of {total}",
    "settings_file": "Drop a PNG made here: its settings come back",
    "settings_restored": "Settings are back.", "settings_gone": "Settings are back. {gone}",
    "settings_other_photo": "The photograph on the page is another one than the file's.",
    "settings_other_model": "The file was made with the model {model}.",
    "settings_no_style": "Drop its style picture, too.",
    "link": "Link to these settings", "json": "As JSON", "command": "As a command", "copy": "Copy",
    "keys": "Keys: Enter renders, Esc stops, Z shows the photograph", "forget": "Forget my pictures",
    "refresh": "Refresh", "memory": "What is stored now", "memory_own": "Your pictures",
    "memory_all": "All visitors and examples", "memory_hits": "Pictures read once and used again",
    "memory_hits_value": "{hits} times; {misses} read anew", "memory_calls": "Model calls since the start",
    "memory_idle": "of them for previews nobody asked for", "memory_model": "Model",
    "memory_note": "A closed page can be opened again for {minutes} minutes; then everything of it is deleted.",
    "seconds": "{seconds} s", "minutes": "{minutes} min",
}  # fmt: skip

GERMAN = {
    "tagline": "Dein Porträt in der Art eines anderen Bildes. Deine Bilder verlassen den Server mit dir.",
    "photograph": "Foto", "style": "Stil", "style_2": "Zweiter Stil", "style_3": "Dritter Stil",
    "weight": "Gewicht", "weight_hint": "Höher: Dieser Stil setzt sich öfter gegen die anderen durch.",
    "stylize": "Stilisieren", "stop": "Stopp", "live": "Live",
    "tab_look": "Aussehen", "tab_advanced": "Mehr", "tab_region": "Bereich", "tab_styles": "Stile",
    "tab_grid": "Raster", "tab_compare": "Vergleichen", "tab_settings": "Einstellungen",
    "tab_memory": "Speicher", "wall_styles": "Gemälde: ein Klick nimmt eines",
    "wall_photographs": "Porträts zum Ausprobieren", "wall_item": "{name} nehmen",
    "presets": "Vorlagen", "groups": "Gruppen von Schichten", "groups_hint": "Schaltet zusammengehörige Schichten.",
    "coarse": "Große Formen", "middle": "Mittlere", "fine": "Feine",
    "layers_note": "Der Stil wirkt in {chosen} von {total} Schichten.",
    "empty_value": "{label} ist leer; es gilt {value}.",
    "bounded_value": "{label} {given} liegt nicht zwischen {low} und {high}; es gilt {value}.",
    "cost_none": "Dafür muss kein Bild neu gelesen werden.",
    "cost_new": "{steps} Schritte: Jedes Bild wird neu gelesen, {calls} Modellaufrufe.",
    "region": "Wohin der Stil kommt", "everywhere": "Überall", "face": "Gesicht", "background": "Hintergrund",
    "mask": "Wo ich male", "region_everywhere": "Der Stil kommt überall hin.",
    "region_face": "Der Stil kommt innerhalb der Linie hin, auf Gesichter und Haare.",
    "region_background": "Der Stil kommt außerhalb von Gesichtern und Haaren hin, jenseits der Linie.",
    "region_mask": "Der Stil kommt hin, wo du malst oder wo deine Maske weiß ist. Nichts gemalt: überall.",
    "no_face": "In diesem Foto wurde kein Gesicht gefunden: Der Stil kommt überall hin.",
    "region_outline": "Das Foto mit dem eingezeichneten Rand des Bereichs",
    "brush": "Male, wohin der Stil soll", "mask_file": "Oder eine Maske als Datei: weiß, wohin der Stil soll",
    "start": "Wähle ein Foto und ein Gemälde, oder lege eigene ab.",
    "unseen": "Kaum ein Browser zeigt diese Art von Datei. Gelesen wird sie trotzdem:",
    "no_photograph": "Es fehlt noch ein Foto; wähle eines, und es geht los, sobald es da ist.",
    "no_style": "Es fehlt noch ein Stil; wähle einen, und es geht los, sobald er da ist.",
    "read": "Das Bild ist bereit; das andere fehlt noch.", "ready": "Beide Bilder sind bereit. Drücke Stilisieren.",
    "done": "Fertig in {seconds}: {calls} Modellaufrufe.",
    "again": "Bild {number} entstand mit diesen Einstellungen.",
    "stopped": "Angehalten. Bild {number} ist wieder da.", "stopped_empty": "Angehalten.",
    "error": "{text}",
    "unexpected": "Auf dem Server ging etwas schief ({kind}); ändere etwas oder drücke noch einmal Stilisieren.",
    "forgotten": "Vergessen: Bilder, Ergebnisse und {bytes} gespeicherter Merkmale.",
    "restored": "Willkommen zurück: Deine Bilder sind noch da.",
    "waiting": "Platz {place} in der Schlange, etwa {seconds}.",
    "moved": "Eine Maschine ging verloren; dein Bild wird auf einer anderen neu begonnen.",
    "away": "Gerade ist keine Maschine zum Zeichnen da; deine Bilder sind hier sicher, und es geht von selbst weiter.",
    "step": "{phase}: Schritt {step} von {total}, noch etwa {seconds}",
    "phase_photograph": "Foto wird gelesen", "phase_style": "Stil wird gelesen", "phase_draft": "Entwurf",
    "phase_full": "Ganzes Bild", "phase_grid": "Bilder",
    "caption_draft": "Entwurf: {settings}", "caption_done": "Bild {number}: {settings}",
    "caption_short": "Stärke {strength}, {steps} Schritte", "caption_own": "eigene Einstellungen",
    "caption_behind": "Regler stehen anders.",
    "caption_preview": "Vorschau zwischen Entwürfen; das echte Bild folgt.",
    "sample": "Das Porträt einer Astronautin in der Art eines Gemäldes, hier gemacht",
    "sample_caption": "Ein Foto nach einem Gemälde, hier gemacht. Jetzt deines.",
    "result_alt": "Das stilisierte Foto. {caption}", "before_after": "Foto ⟷ Ergebnis",
    "wipe_auto": "Von selbst hin und her wischen",
    "boxes_full": "Beide Felder sind voll: Tippe das an, dessen Bild gehen soll, und füge noch einmal ein.",
    "hold": "Halten zeigt das Foto", "download": "Herunterladen", "format_png": "PNG", "enlarge": "Vollbild",
    "tab_outputs": "Herunterladen", "outputs_open": "Größer …",
    "times": "Größe", "times_1": "Wie gerechnet", "times_2": "Doppelt", "times_4": "Vierfach",
    "times_hint": "Größer: scharf, wo dein Foto es ist. Bei höherer Größe (Mehr) malt das Modell mehr selbst.",
    "format": "Format",
    "format_hint": "PNG trägt seine Einstellungen, JPEG und WebP tragen keine. JPEG ist nie durchsichtig.",
    "make_file": "Datei machen", "making_file": "Die Datei entsteht.",
    "style_mask": "Nur einen Teil verwenden von Stil", "style_brush": "Male, was davon gelten soll",
    "style_mask_file": "Oder eine Maske als Datei: weiß, was gelten soll",
    "style_mask_hint": "Pinselführung und Farben kommen von dem, was du malst. Nichts gemalt: von allem.",
    "style_mask_none": "Diesen Stil gibt es noch nicht.",
    "style_mask_empty": "Die Maske ist überall schwarz; mache weiß, was gelten soll.",
    "style_masked": "ein Teil des Stils",
    "lens": "Lupe: wohin das Bild in seinem Stil sah",
    "lens_hint": "Klicke auf eine Stelle des Bildes: Der Stil leuchtet, wo diese Stelle hinsah.",
    "lens_done": "Modellaufrufe: {calls}.", "lens_group": "Gefragte Schichten", "lens_step": "Schritt",
    "lens_step_hint": "0 ist Rauschen, wo große Formen entstehen, 1 das fertige Bild.",
    "lens_caption": "Wohin {picture} sah, {across} von links und {down} von oben.",
    "lens_alt": "Stil {number}, hell, wo die Stelle hinsah", "lens_share": "Stil {number} {share}",
    "caption_number": "Bild {number}", "caption_draft_short": "der Entwurf",
    "file_made": "{name}, {width} × {height} Bildpunkte.", "no_picture": "Es gibt noch kein fertiges Bild.",
    "animate": "Stärke 0 bis 1 animieren", "making_animation": "Die Animation entsteht.",
    "film": "Jeden Schritt zeigen", "making_film": "Das Bild wird noch einmal gerechnet.",
    "stop_output": "Nicht weitermachen",
    "film_step": "{picture}: wie Schritt {step} von {total} es voraussah.",
    "film_alt": "Das Bild, wie dieser Schritt es voraussah", "film_slider": "Schritt",
    "film_done": "{total} Schritte: {calls} Modellaufrufe.",
    "private": "Einstellungen nicht ins PNG schreiben",
    "private_hint": "An: Niemand kann aus der Datei lesen, wie sie entstand.",
    "history": "Deine Bilder", "history_show": "Bild {number} und seine Einstellungen zeigen",
    "history_star": "Bild {number} behalten", "history_unstar": "Bild {number} nicht mehr behalten",
    "history_delete": "Bild {number} löschen", "history_zip": "Alle als Zip herunterladen",
    "compare_left": "Linkes Bild", "compare_right": "Rechtes Bild", "compare": "Zwei deiner Bilder: Ziehe die Linie",
    "across": "Waagerecht", "down": "Senkrecht", "nothing": "Nichts", "values_across": "Werte waagerecht",
    "values_down": "Werte senkrecht", "values_hint": "Eine Liste wie 0, 0.5, 1 oder ein Bereich wie 0-1 [5].",
    "grid_run": "Raster füllen", "grid_stop": "Raster anhalten", "grid_quick": "3 × 3 Entwürfe",
    "grid_pictures": "Ein Klick auf ein Bild lädt seine Einstellungen", "grid_sheet": "Das ganze Blatt als ein Bild",
    "grid_plan": "{pictures} Bilder: {calls} Modellaufrufe, etwa {seconds}.",
    "grid_done": "{pictures} von {total} Bildern sind fertig. Ein Klick auf eines lädt seine Einstellungen.",
    "grid_loaded": "Geladen: {cell}.", "grid_step": "Bild {step} von {total}",
    "settings_file": "PNG von hier: Einstellungen kommen zurück",
    "settings_restored": "Die Einstellungen sind zurück.", "settings_gone": "Die Einstellungen sind zurück. {gone}",
    "settings_other_photo": "Das Foto auf der Seite ist ein anderes als das der Datei.",
    "settings_other_model": "Die Datei entstand mit dem Modell {model}.",
    "settings_no_style": "Lege auch ihr Stilbild ab.",
    "link": "Link zu diesen Einstellungen", "json": "Als JSON", "command": "Als Befehl", "copy": "Kopieren",
    "keys": "Tasten: Eingabe stilisiert, Esc hält an, Z zeigt das Foto", "forget": "Meine Bilder vergessen",
    "refresh": "Auffrischen", "memory": "Was jetzt gespeichert ist", "memory_own": "Deine Bilder",
    "memory_all": "Alle Besucher und Beispiele", "memory_hits": "Einmal gelesene Bilder, wieder benutzt",
    "memory_hits_value": "{hits} Mal; {misses} neu gelesen", "memory_calls": "Modellaufrufe seit dem Start",
    "memory_idle": "davon für ungefragte Vorschauen", "memory_model": "Modell",
    "memory_note": "Eine geschlossene Seite geht {minutes} Minuten lang wieder auf; danach wird alles gelöscht.",
    "seconds": "{seconds} s", "minutes": "{minutes} min",
    "setting.strength": "Stilstärke", "hint.strength": "Höher: mehr Stil, weniger Person; 0 ist das Foto.",
    "setting.faces": "Gesichter", "hint.faces": "Niedriger: Gefundene Gesichter bekommen weniger Stil.",
    "setting.structure": "Struktur", "hint.structure": "Höher: Formen bleiben näher am Foto.",
    "setting.colour": "Farbe", "hint.colour": "Höher: Farben näher am Stil; 0 behält die des Fotos.",
    "setting.detail": "Details", "hint.detail": "Höher: Feine Linien des Fotos kommen zurück.",
    "setting.temperature": "Schärfe", "hint.temperature": "Höher: weniger, besser passende Stellen des Stils.",
    "setting.balance": "Ausgleich", "hint.balance": "Höher: Alles vom Stilbild wird gleich oft benutzt, auch Seltenes.",
    "setting.neighbours": "Strichgröße", "hint.neighbours": "Höher: größere Stücke des Stils; Kleines im Foto leidet.",
    "setting.strokes": "Striche", "hint.strokes": "Höher: mehr Striche des Stils; niedriger: mehr vom Foto.",
    "setting.start": "Anfang", "hint.start": "Später: Der Stil lässt große Formen und Farben in Ruhe.",
    "setting.end": "Ende", "hint.end": "Früher: Der Stil lässt feine Einzelheiten in Ruhe.",
    "setting.residual": "Treue", "hint.residual": "Höher: Jeder Schritt bleibt näher am Weg des Fotos.",
    "setting.palette": "Palette", "hint.palette": "Wann Farben übertragen werden; adain wie StyleID am Anfang.",
    "setting.fusion": "Verschmelzung", "hint.fusion": "Mischen: zwei Aufmerksamkeiten; Wettstreit: eine für beide.",
    "setting.layers": "Schichten", "hint.layers": "Wo der Stil hineinkommt.",
    "setting.render_steps": "Schritte des Bildes", "hint.render_steps": "Weniger: schneller; leer: alle.",
    "setting.seed": "Variante", "hint.seed": "Jede Zahl gibt eine andere; leer: das eine genaue Ergebnis.",
    "setting.outside": "Stärke außerhalb", "hint.outside": "Stilstärke außerhalb des Bereichs.",
    "setting.steps": "Leseschritte", "hint.steps": "Mehr: feiner und langsamer; jedes Bild wird neu gelesen.",
    "setting.size": "Größe", "hint.size": "Lange Seite in Bildpunkten; jedes Bild wird neu gelesen.",
    "choice.both": "Anfang und Ende", "choice.end": "Ende", "choice.adain": "adain", "choice.off": "aus",
    "choice.blend": "Mischen", "choice.joint": "Wettstreit",
    "preset.Gentle": "Sanft", "preset.Painterly": "Malerisch", "preset.Bold": "Kräftig",
    "preset.Keep my colours": "Meine Farben", "preset.Attention alone": "Nur Aufmerk\u00adsamkeit",
    "preset.StyleID's attention": "StyleIDs Aufmerk\u00adsamkeit",
}  # fmt: skip

for _setting in table():
    ENGLISH |= {f"setting.{_setting.name}": _setting.label, f"hint.{_setting.name}": _setting.hint}
    ENGLISH |= {f"choice.{_choice}": _choice for _choice in _setting.choices}
ENGLISH |= {f"preset.{name}": name for name in PRESETS}
LANGUAGES = {"en": ENGLISH, "de": GERMAN}

# The browser translates whatever text of a component is a key, values of controls too: no value begins like this.
PREFIX = "magicstyle."
i18n = gr.I18n(**{name: {PREFIX + key: text for key, text in words.items()} for name, words in LANGUAGES.items()})


def label(key: str) -> I18nData:
    """A text in a component's label, info, placeholder or value, which the browser translates."""
    return i18n(PREFIX + key)


def language(accepted: str | None) -> str:
    """The best of LANGUAGES for an Accept-Language header, such as `de-AT,de;q=0.9,en;q=0.8`."""
    wishes = []
    for item in (accepted or "").split(","):
        name, _, quality = item.strip().partition(";q=")
        try:
            wishes.append((-float(quality or 1), name[:2].lower()))
        except ValueError:
            continue
    return next((name for _, name in sorted(wishes, key=lambda wish: wish[0]) if name in LANGUAGES), "en")


def say(language: str, key: str, **values: Any) -> str:
    """A sentence in this language. Numbers of seconds and bytes are given as numbers."""
    for name in ("seconds", "bytes"):
        if isinstance(values.get(name), (int, float)):
            values[name] = duration(language, values[name]) if name == "seconds" else megabytes(values[name])
    return LANGUAGES[language][key].format(**values)


def duration(language: str, seconds: float) -> str:
    """A length of time for people: `0.8 s`, `12 s`, `3 min`."""
    if seconds >= 100:
        return LANGUAGES[language]["minutes"].format(minutes=f"{seconds / 60:.0f}")
    return LANGUAGES[language]["seconds"].format(seconds=f"{seconds:.1f}" if seconds < 3 else f"{seconds:.0f}")


def megabytes(count: float) -> str:
    """A number of bytes for people: `38 MB`."""
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
