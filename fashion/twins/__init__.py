"""Photos of a catalogue that show the same picture."""
