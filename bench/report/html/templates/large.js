// A page without a matrix: the list of kernels is for the keyboard, so the tiles need no stop of the tab key.
for (const tile of findAll(".heat-map a")) tile.tabIndex = -1;
startTheme();
startChoose();
if (location.hash.includes("=")) readAddress(location.hash.slice(1));
setRequirements();
