"""The four trainers: SFT, reward model, DPO and PPO, on one backbone and one loop."""
