"""Every error a user can meet. The message is written for that user: what is wrong, what to do.

MagicStyleError
├── ImageError      the picture cannot be read or used
├── SettingsError   a setting is outside what it may be
├── ModelError      a model cannot be found, loaded or run
└── MetadataError   a PNG carries no settings, or settings of another kind
"""


class MagicStyleError(Exception):
    """Base of all errors of this package."""


class ImageError(MagicStyleError):
    """The picture cannot be read or used."""


class SettingsError(MagicStyleError):
    """A setting is outside what it may be."""


class ModelError(MagicStyleError):
    """A model cannot be found, loaded or run."""


class MetadataError(MagicStyleError):
    """A PNG carries no settings, or settings that cannot be read."""
