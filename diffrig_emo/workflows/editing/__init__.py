"""The parts of `diffrig-emo edit`: reading faces, what to change, painting, clips, writing."""
