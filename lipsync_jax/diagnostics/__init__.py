"""`lipsync doctor` and `lipsync diagnose`: what is wrong, and what to type next."""
