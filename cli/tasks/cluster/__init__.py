"""Runs over many images, block by block, by processes on one machine or many: no scheduler, that is Ray's."""
