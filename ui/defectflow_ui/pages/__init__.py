"""The pages, in the order of their tabs: one class each."""

from __future__ import annotations

from defectflow_ui.pages.agreement import AgreementPage
from defectflow_ui.pages.calibrate import CalibratePage
from defectflow_ui.pages.history import HistoryPage
from defectflow_ui.pages.inspect import InspectPage
from defectflow_ui.pages.live import LivePage
from defectflow_ui.pages.masters import MastersPage
from defectflow_ui.pages.models import ModelsPage
from defectflow_ui.pages.page import Page
from defectflow_ui.pages.review import ReviewPage
from defectflow_ui.pages.train import TrainPage
from defectflow_ui.pages.users import UsersPage

PAGES: tuple[type[Page], ...] = (
    *(InspectPage, LivePage, ReviewPage, HistoryPage, TrainPage, CalibratePage, ModelsPage),
    *(MastersPage, AgreementPage, UsersPage),
)
