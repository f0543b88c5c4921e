"""How receptive fields are found: units along an axis, the rules of layers, the trace of a pass, the gradient."""
