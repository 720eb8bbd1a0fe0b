"""YAML -> frozen, typed settings: every number that shapes a model, with its unit."""
