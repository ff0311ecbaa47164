"""What the project knows about cluster definitions: checks of the files, prices and what a job asks for."""
