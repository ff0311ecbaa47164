"""The network, and what is done to it: training, tuning, evaluation, finetuning."""
