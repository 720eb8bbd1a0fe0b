"""The inspection station: a page in the browser over `defectflow.line` and the store.

settings.py    where it listens, what it accepts
station.py     what all pages share: bundles, the active one, the store, background jobs, who is asking
bundles.py     bundles found in a folder; the active one, loaded and checked
visitors.py    sessions, roles, and what a browser tab remembers
gate.py        what every request passes: host, origin, session, allowed routes, size
signin.py      the sign-in page, with limited attempts
uploads.py     pictures and ZIPs from the browser, by token and never by path
disk.py        what is written where there may be no room
served.py       what the server shows a browser, by token and never by path
jobs.py        long work in the background, with progress and cancel
inspection.py  the judged pictures of one tab, without any Gradio
pages/         one file per page, one function each: build(station)
words.py       every string a user reads
theme.py       colours, fonts, layout;  assets/  the station's own CSS and JavaScript
server.py      puts it all together

It judges nothing: verdicts, thresholds and p-values come from `defectflow.line`.
"""

import os

# Before Gradio is imported: nothing may be reported to anybody.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
