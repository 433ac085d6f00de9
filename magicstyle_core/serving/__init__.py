"""Who works, when and where: jobs, visitors, turns, places. No Gradio here, and no torch but in `places.Here`."""
