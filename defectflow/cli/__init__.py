"""The command line: thin commands that parse, call one function and print. Heavy imports happen inside them."""
