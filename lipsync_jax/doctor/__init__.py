"""`lipsync doctor`: does this installation work, what is there, and what to type next."""
