"""Print keywords from the default microphone until Ctrl-C."""

import lcspeech

for event in lcspeech.listen(lcspeech.Spotter.load()):
    print(f"{event.start:.2f} s  {event.keyword}  {event.score:.2f}", flush=True)
