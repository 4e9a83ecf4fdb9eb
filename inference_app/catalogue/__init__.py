"""The model catalogue: configured providers and models, name resolution, and the models that each tenant may use."""
