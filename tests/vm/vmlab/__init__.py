"""Virtual machines for the tests: cached images, QEMU, and the channel results come back on."""
