"""Cameras -> pictures, on a trigger, by the clock, or when the camera's own input says so.

source     what every kind of camera can do
folder, http, opencv, aravis    the kinds
camera     one of them in a thread of its own: triggers, reconnecting, alarms -> requests for `work`
"""

from defectflow.serve.cameras.camera import Camera, Trigger, find_camera, try_camera

__all__ = ["Camera", "Trigger", "find_camera", "try_camera"]
