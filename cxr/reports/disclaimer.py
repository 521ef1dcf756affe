"""What stands under whatever is said of a film."""

NOTICE = "For research only, not for diagnosis."
