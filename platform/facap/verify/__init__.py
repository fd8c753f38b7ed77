"""Hold modification texts against what the two pictures show, and against the trained model -> VERDICTS."""
