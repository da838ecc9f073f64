"""Ready sweep files, found by name: `tune search --space resnet18.yaml`."""
