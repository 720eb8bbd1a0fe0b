"""Folders, trees and manifests -> pictures -> parts -> train, tune, calibration and test. Never torch."""
