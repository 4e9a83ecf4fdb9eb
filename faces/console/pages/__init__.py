"""The console's pages, a module each. `faces.console.registry` lists them."""
