"""What pages are written with: colours and fonts, the pieces that all pages share."""
