"""``python -m config.cli``"""

from config.cli import main

main()
