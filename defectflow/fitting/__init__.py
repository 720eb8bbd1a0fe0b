"""Check the pictures, fit, publish: from a recipe and a folder of good parts to a bundle."""
