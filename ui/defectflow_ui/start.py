"""Settings -> an open station, or a refusal that says what to do."""

from __future__ import annotations

from defectflow.errors import DataError, SettingsError
from defectflow.store import Store
from defectflow_ui.settings import Settings
from defectflow_ui.station import Station
from defectflow_ui.tasks.processes import exists
from defectflow_ui.temporary_folders import sweep
from defectflow_ui.words import start as words


def open_station(settings: Settings) -> Station:
    """Makes the folder of the models where there is none. Raises DataError if it cannot be made or there is no folder
    of pictures, SettingsError where others could get in without signing in.
    """
    try:
        settings.bundles.mkdir(exist_ok=True)
    except OSError as error:
        raise DataError(words.no_folder(settings.bundles)) from error
    if settings.data is not None and not settings.data.is_dir():
        raise DataError(words.no_data_folder(settings.data))
    store = Store.open(settings.store)
    if not settings.local and not store.users.any():
        store.close()
        raise SettingsError(words.needs_users(settings.host, settings.store))
    store.retain(by=words.station)
    sweep(exists)
    return Station(settings, store)
