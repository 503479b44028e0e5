"""How long a battery lasts, and what is answered meanwhile: docs/simulator.md, docs/energy-model.md, docs/fleet.md."""
