"""Every error a user can meet, in one tree.

    DefectFlowError
    ├── SettingsError        a recipe, an override or an option is wrong
    ├── DataError            a folder, tree or manifest cannot be used
    │   └── ImageError       one picture cannot be used; the others continue
    ├── WeightsError         backbone weights are missing or do not fit
    ├── TrainingError        the density could not be learned
    ├── CalibrationError     good parts cannot support the wanted rate
    │   └── NotCalibrated    a verdict was asked of a bundle without thresholds
    ├── ExportError          the model cannot be exported, or its graph disagrees with it
    ├── BundleError          a bundle is missing, damaged or of another version
    │   ├── UnknownModel     a service has no bundle of this name
    │   └── UnknownProduct   a bundle has no product of this name
    ├── ClusterError         a Ray cluster cannot be reached or used
    ├── CameraError          a camera cannot be opened, or gives no picture
    │   └── UnknownCamera    a service has no camera of this name
    ├── ServiceError         a service refused a request, or cannot be reached
    └── StoreError           the store of inspections cannot be used, or refuses
        ├── AccessError      a person may not do that, or could not sign in
        ├── AnsweredMeanwhile    somebody else has answered about that part since it was shown
        └── KeyReused        a key of a repeatable request stands for another request

A message names the file or setting, the value, the limit and the remedy.
"""


class DefectFlowError(Exception):
    """Base of all errors that DefectFlow raises on purpose."""


class SettingsError(DefectFlowError):
    """A recipe, an override or a command-line option is wrong."""


class DataError(DefectFlowError):
    """A folder, tree or manifest cannot be used."""


class ImageError(DataError):
    """One picture cannot be used; the message starts with its name."""


class WeightsError(DefectFlowError):
    """Backbone weights are missing or do not fit the backbone."""


class TrainingError(DefectFlowError):
    """The density could not be learned."""


class CalibrationError(DefectFlowError):
    """The good parts available cannot support the wanted rate."""


class NotCalibrated(CalibrationError):  # noqa: N818  (the state is the message)
    """A verdict was asked of a bundle that has no thresholds yet."""


class ExportError(DefectFlowError):
    """The trained model cannot be exported, or the exported graph disagrees with it."""


class BundleError(DefectFlowError):
    """A bundle is missing, damaged, or written by another version."""


class UnknownModel(BundleError):  # noqa: N818  (the state is the message)
    """A service was asked for a bundle that is not in its folder."""


class UnknownProduct(BundleError):  # noqa: N818  (the state is the message)
    """A bundle was asked for a product that it does not have."""


class ClusterError(DefectFlowError):
    """A Ray cluster cannot be reached, does not fit this run, or was lost."""


class CameraError(DefectFlowError):
    """A camera cannot be opened, or gives no picture; the message starts with its name."""


class UnknownCamera(CameraError):  # noqa: N818  (the state is the message)
    """A service was asked for a camera that its settings do not name."""


class ServiceError(DefectFlowError):
    """A service refused a request, or cannot be reached; the message is the service's own."""

    def __init__(self, said: str, *, status: int | None) -> None:
        super().__init__(said)
        self.status = status
        """Of HTTP; None if there was no answer."""


class StoreError(DefectFlowError):
    """The store of inspections cannot be used, or refuses what was asked of it."""


class AccessError(StoreError):
    """A person may not do that, or could not sign in."""


class AnsweredMeanwhile(StoreError):  # noqa: N818  (the state is the message)
    """An answer was given over another one than its author had seen."""


class KeyReused(StoreError):  # noqa: N818  (the state is the message)
    """A client's key of a repeatable request stands for another request already."""


class NotReleased(StoreError):  # noqa: N818  (the state is the message)
    """A model may not judge: its master parts were not judged lately, or not as they should be."""
