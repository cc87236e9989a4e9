"""The engines that build environments and run columns, behind one Protocol that exposes no docker-py types."""

#: The values of ``--engine``.
ENGINES = ("auto", "docker", "venv")
