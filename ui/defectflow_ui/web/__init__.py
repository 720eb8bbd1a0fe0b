"""What faces the browser: server, gate, sign-in, and the frame around the pages."""
