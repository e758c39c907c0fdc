"""`python -m diffrig_emo` is the `diffrig-emo` command."""

from diffrig_emo.cli import main

main()
