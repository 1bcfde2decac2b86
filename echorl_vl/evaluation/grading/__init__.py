"""The grading pass: response files -> answers -> verdicts. It can be repeated without the model, and never hangs."""
