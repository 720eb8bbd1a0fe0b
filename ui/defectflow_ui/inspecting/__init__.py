"""The pictures of one browser tab: judged, looked at, exported. No Gradio here."""
