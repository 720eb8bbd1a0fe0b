"""The browser-facing side: server, gate, sign-in, and the frame around the pages."""
