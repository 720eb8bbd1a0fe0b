"""Pictures nobody labelled -> weights of a built-in backbone. Needed once, by those who make the weights.

Reading order: drawing (pictures from nothing) -> views (crops, in pairs that show the same places) ->
objective (descriptors of one place agree, of two differ) -> learner (one step) -> pretrain (the loop).
"""

__all__ = ["drawing", "learner", "objective", "pretrain", "settings", "views"]
