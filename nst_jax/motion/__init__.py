"""What moves from one frame of a film to the next: optical flow, what it can be trusted for, and cuts.

A flow w is ``(height, width, 2)`` float32: for each pixel of one frame, how many pixels down and to the right
(dy, dx) of it the same thing lies in another. The flow of a frame to the one before it is *backward*, and is
what an earlier picture is warped by; that of the earlier frame to the later one is *forward*.

Ruder, Dosovitskiy & Brox, "Artistic style transfer for videos" (2016) is what this room is for.
"""
