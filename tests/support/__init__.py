"""What several test files share: designs, devices that are made up, problems, closed forms."""
