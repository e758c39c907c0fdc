"""diffrig_emo: composable face-diffusion modules."""
