"""Train one of four GAN types on labelled or unlabelled images: data in, checkpoint out."""
