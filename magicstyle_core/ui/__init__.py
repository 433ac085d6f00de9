"""The page: layout, handlers and sessions. Needs Gradio; nothing else in the core imports it."""
