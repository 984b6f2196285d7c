"""Parameters: ``schema`` has the types, ``load`` reads and resolves, ``check`` looks at what values mean together."""
