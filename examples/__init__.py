"""Programs that show the packages at work; each is run by the tests."""
