"""Drawing pictures with a model, and the folder in which a model is handed on."""
