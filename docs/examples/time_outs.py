import trio

from fsp_trio import CommitTimeout, FSPBrokenError, FSPConnectError, open_fsp_session


async def deliver(host: str, port: int, report: bytes, patience: float = 20.0) -> str:
    try:
        with trio.fail_after(patience):
            async with open_fsp_session(host, port) as session:
                transaction = session.send_transaction()
                await transaction.send_all(report)
                await transaction.commit()
    except FSPConnectError as error:  # no session came about
        return f"not delivered: {error.kind.name if error.kind else error}"
    except CommitTimeout:  # before TooSlowError, of which it is a kind
        return "unknown: 30 seconds without any acknowledgement"
    except trio.TooSlowError:
        return f"unknown: {patience:g} seconds were not enough"
    except FSPBrokenError as error:
        return f"unknown: {error}"
    return "delivered"


if __name__ == "__main__":
    # nobody listens there, and nobody says so: a request to nowhere meets silence, and gives up after a minute
    print(trio.run(deliver, "127.0.0.1", 9, b"report", 0.5))
