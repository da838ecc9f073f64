"""Programs that measure tuneyard against its peers; `make bench` runs them. No part of the installed product."""
