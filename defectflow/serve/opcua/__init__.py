"""An OPC UA server in the service: verdicts, counters and state out; triggers and the switch in.

space       what clients see: a tree of nodes, after OPC 40100 Machine Vision
access      who may do what: the service's own keys, and encrypted channels
calls       an inspection takes a while, and a connection's other requests do not wait for it
methods     a client's call -> a request for `work`, or a picture of a camera
server      all of it, in a thread and an event loop of its own; a channel that the outbox tells
"""

from defectflow.serve.opcua.methods import Doors
from defectflow.serve.opcua.server import OpcUa, check_files

__all__ = ["Doors", "OpcUa", "check_files"]
