//! Which values of a tensor an activation reads together.

use crate::pool::for_each_window;
use models::{Shape, Window};

/// Which values of the input each instance of a gadget reads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Words {
    /// Its own.
    Whole,
    /// Those of its window; where the window reaches into the padding, its first value again, which changes no maximum.
    Windows(Window),
    /// Those of all channels.
    Channels,
}

impl Words {
    /// One slice of a word per instance, for each word that an instance reads.
    pub(crate) fn gather(&self, input: Shape, output: Shape, values: &[u64]) -> Vec<Vec<u64>> {
        match self {
            Self::Whole => vec![values.to_vec()],
            Self::Channels => values.chunks_exact(input.volume()).map(<[u64]>::to_vec).collect(),
            Self::Windows(window) => {
                let mut words = vec![Vec::with_capacity(output.len()); window.taps()];
                for channel in values.chunks_exact(input.volume()) {
                    for_each_window(window, input.dims, output.dims, |voxels| {
                        for (tap, word) in words.iter_mut().enumerate() {
                            word.push(channel[*voxels.get(tap).unwrap_or(&voxels[0])]);
                        }
                    });
                }
                words
            }
        }
    }
}
