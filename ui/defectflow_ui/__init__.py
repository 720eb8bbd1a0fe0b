"""The inspection station: a page in the browser over `defectflow.line` and the store.

The packages, from what faces the browser down; each knows only those below it:

web/         server, gate (what every request passes), content policy, sign-in, the frame around the pages
pages/       one class per page, and beside each what it shows
station.py   what all pages share, and who may call which handler;  start.py  opens it
tasks/       data checks and trainings in processes that outlive the station; jobs in threads; what is learned from
inspecting/  the judged pictures of one tab, without any Gradio
models/      the bundles of the folder and the active one; scores of their parts; has production moved?
visits/      one browser: session, role and tab; what it uploads, and what is served to it, by token and never by path
markup/      templates -> HTML and SVG, escaped; the pieces that all pages share; colours and fonts
words/       every string a user reads

Plain: settings.py (where it listens, what it accepts), pictures.py (pixels -> what a browser shows), disk_errors.py,
temporary_folders.py; templates/ (all HTML and SVG), assets/ (CSS and JavaScript).

It judges nothing: verdicts, thresholds and p-values come from `defectflow.line`.
"""

import os

# Before Gradio is imported: nothing may be reported to anybody.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
